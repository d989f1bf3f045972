"""Learners that act by a policy which a learned model of the environment has helped to train."""
