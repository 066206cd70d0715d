"""Plugin lwm_ring."""
