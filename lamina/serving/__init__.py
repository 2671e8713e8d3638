"""lamina serve: trained nets over HTTP; they answer as `lamina ask` does, bit for bit on the same machine."""
