"""Plugin lwm_text: BPE files and their training. Light: `plugin` is imported to list parts."""
