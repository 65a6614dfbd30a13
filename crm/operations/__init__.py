"""The only code that writes: one file a capability, validate everything, change, record, emit, one transaction."""
