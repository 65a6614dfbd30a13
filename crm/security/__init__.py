"""Who a person is, what he may see and do."""
