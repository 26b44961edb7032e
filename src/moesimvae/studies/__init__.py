"""What is computed from finished runs, and shown by the report."""
