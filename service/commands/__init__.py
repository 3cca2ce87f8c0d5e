"""The command line, one group of commands a file; `service.cli` puts them together."""
