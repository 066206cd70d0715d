"""Plugin lwm_vqgan."""
