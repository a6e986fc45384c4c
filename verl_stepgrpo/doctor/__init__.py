"""Will a run find the plugin, and if not, why: what each process has, and what it should have."""
