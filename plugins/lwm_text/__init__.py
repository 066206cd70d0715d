"""Plugin lwm_text: BPE files, their training, chat wording. Light: `plugin` is imported to list parts."""
