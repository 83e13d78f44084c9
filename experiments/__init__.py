"""What happens, in what order: the only folder with side effects.

The command line is `experiments.cli`, its commands are in `experiments.commands`. `experiments.config` describes a
sweep, `experiments.pipeline` runs it, `experiments.ledger` is its truth; `experiments.searchers` propose, and
`experiments.data` brings the images. `experiments.front_view` and `experiments.report` show what came out, and
`experiments.handoff` hands it over; `experiments.weights` brings trained weights in and takes them out;
`experiments.trackers` log it elsewhere too. Nothing is imported here: `--help` stays quick.
"""
