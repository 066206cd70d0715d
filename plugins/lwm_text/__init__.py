"""Plugin lwm_text."""
