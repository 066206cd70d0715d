"""Plugin lwm_needle."""
