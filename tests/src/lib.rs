//! The laboratory: network namespaces and real routers.
