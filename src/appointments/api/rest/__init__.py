"""HTTP other than gRPC-Web: sign-in with cookies under /auth, health checks, and the page."""
