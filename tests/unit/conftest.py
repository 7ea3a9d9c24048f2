"""Properties are judged by what they say, not by how long a busy machine takes for one example."""

from hypothesis import settings

settings.register_profile("waybill", deadline=None)
settings.load_profile("waybill")
