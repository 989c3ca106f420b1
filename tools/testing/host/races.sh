#!/bin/bash
# The reproducers of `make races` on the engine in userspace: each interleaving is
# forced by sync points, the real build passes, the mutant is caught.  The models
# of the same races are in models.sh.
exec "$(dirname "$0")/../../../scripts/races.sh" short
