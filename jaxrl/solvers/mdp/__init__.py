"""Exact solvers of finite environments with one agent, on their ``TabularModel``. A file for each idea:

    problem            checks of the arguments
    solution           the answers, each with its check
    backups            one step: action values from the values of the successors, and the greedy policy
    policy_evaluation  the value of a policy
    value_iteration, policy_iteration, modified_policy_iteration    the optimum, by one method each
    entropic, soft, robust, average_reward                          the optimum, for one aim each
    taylor             the value of a policy under another discount
    finite_horizon, policy_gradient                                 a number of steps, with policies that depend on the epoch
    occupancy          linear programmes over visits, where costs have budgets
    host               one model at a time, of a million states too, with sparse matrices

All but ``occupancy`` and ``host`` are pure and compile; they use no LAPACK, so they can be vmapped over thousands of policies.
They compute in the precision jax is set to: float32, or float64 inside ``jax.enable_x64(True)``. Each returns, beside its answer,
by how much that misses its equation and how far it can be from the truth.

Source: Sutton and Barto (2018), chapter 4; Puterman (1994), chapter 6.
"""
