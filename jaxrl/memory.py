def seeds_that_fit(make, task, config, count, chunk_length, evaluators, devices, group):
    return count
