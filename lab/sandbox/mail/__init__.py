"""A stand-in for the mail server: SMTP in, files on disk, a view over HTTP."""
