"""The reference analysis: heavy neutral leptons in Ds decays, Ds -> mu N, N -> mu pi."""
