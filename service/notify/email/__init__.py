"""E-mail by SMTP. Source: RFC 5321 (SMTP), 5322 (messages and threads), 3834 (automatic mail)."""
