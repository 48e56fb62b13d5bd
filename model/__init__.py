"""Networks only: no file access, no flags, no printing."""
