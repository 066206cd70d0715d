"""Plugin lwm_stages."""
