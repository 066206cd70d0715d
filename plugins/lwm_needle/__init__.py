"""Plugin lwm_needle: documents to learn retrieval from, and the needle test. Light: `plugin` lists its parts."""
