"""Planning: search with the true model of an environment, or with a model that is learned."""
