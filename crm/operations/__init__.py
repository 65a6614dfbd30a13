"""The only code that writes: check everything, change, record and emit in one transaction."""
