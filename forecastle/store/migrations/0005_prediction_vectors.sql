-- What a replay needs: the numbers that were scored, by which view, what the method said of them, and what was known.
-- `vector` and `known` are doubles in network order, `known` compressed: see forecastle/features/packing.py.
-- Predictions of before have none of them and are not replayed; what was known then stays in their `history`, which
-- nothing writes any more.

alter table predictions
    add column view text,
    add column estimate double precision,
    add column vector bytea,
    add column known bytea,
    alter column history drop not null;
