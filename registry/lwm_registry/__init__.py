"""The registry: discovery, catalog, recipes and the command line. It introduces plugins to the core."""
