"""Deciding every hidden neuron: witnesses, bounds and solvers, kept in one ledger."""
