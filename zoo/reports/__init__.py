"""Pages and tables about runs and networks."""
