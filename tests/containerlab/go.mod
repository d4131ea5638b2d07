// containerlab, which deploys the topologies of containerlab/ as their users do.
module speaker/tests/containerlab

go 1.26.0

require github.com/srl-labs/containerlab v0.69.3
