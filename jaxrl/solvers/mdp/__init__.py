"""Exact solvers of finite environments with one agent, on their ``TabularModel``. A file for each idea:

    problem            checks of the arguments
    endless            the problems without discount that have no optimum, refused before they are solved
    solution           the answers, each with its check
    backups            one step: action values from the values of the successors, and the greedy policy
    policy_evaluation  the value of a policy
    value_iteration, policy_iteration, modified_policy_iteration, prioritised_sweeping    the optimum, by one method each
    finite_horizon     the optimum and the value of a policy where time is short, with policies that depend on time
    entropic, soft, robust, average_reward, stock                   the optimum, for one aim each
    distributional, two_atoms    laws of returns in place of their means
    worst_cases        a robust optimum by a sequence of ordinary ones
    taylor             the value of a policy under another discount
    policy_gradient    softmax policies that depend on time, by exact and sampled gradients
    occupancy          linear programmes over visits, where costs have budgets
    option_models      courses of action over several steps, and the best choice among them
    symmetries         maps of states and actions that change little, and how far optimal values can differ under them
    laplacian          the graph of the states, and options that climb its slow eigenvectors
    host               one model at a time, of a million states too, with sparse matrices
    sparse             these matrices

A ``TabularModel`` holds the K successors of each state and action, not a matrix over all states. So sweeps take memory in
proportion to X A K, in ``policy_evaluation`` with ``dense=False``. For a million states there is ``host``: an open room of 1000 x
1000 cells with slips is tabulated in 25 s and 1 GB, and solved in 3 minutes and 2.3 GB on two CPU cores.

``occupancy``, ``stock``, ``worst_cases``, ``prioritised_sweeping``, ``laplacian``, ``symmetries``, ``sparse``, ``host`` and the
models of ``option_models`` compute on the host. All others are pure and compile; they use no LAPACK, so they can be vmapped over
thousands of policies. They compute in the precision jax is set to: float32, or float64 inside ``jax.enable_x64(True)``. Each
returns, beside its answer, by how much that misses its equation and how far it can be from the truth; sums over a number of steps
(``return_of_policy``, ``host.finite_horizon``) are exact but for rounding, and come alone.

Source: Sutton and Barto (2018), chapter 4; Puterman (1994), chapter 6.
"""
