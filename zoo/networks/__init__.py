"""A folder for each domain, with a file for each family; `catalogue` lists them, and says how to add one."""
