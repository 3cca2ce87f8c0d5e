"""What people do with dead letters: choose, mend, and publish again, each once. Pure: no I/O, no clock."""
