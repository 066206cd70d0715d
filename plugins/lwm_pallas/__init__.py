"""Plugin lwm_pallas."""
