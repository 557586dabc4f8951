-- Every step of the ledger carries the SHA-256 over the step before it and its own content: one chain for the whole
-- table, so that no registered model can vanish from it either.
alter table promotions
    add column overridden boolean not null default false,
    add column trained_by_actor boolean not null default false,
    add column chained_afterwards boolean not null default false,
    add column previous_hash text not null default '',
    add column hash text not null default '',
    alter column step drop identity;

-- What is hashed of a step. Columns that come later may only be added for the steps that have them.
create function promotion_content(step promotions) returns text language sql stable as $$
    select jsonb_build_array(
        step.step, step.promotion_id, step.outcome, step.action, step.model_name, step.from_version, step.to_version,
        step.actor, step.reason, step.verdict, step.overridden, step.trained_by_actor, step.single_user_mode,
        step.files, step.provenance, to_char(step.recorded_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        step.chained_afterwards)::text
$$;

create function promotion_hash(previous text, content text) returns text language sql immutable as $$
    select encode(sha256(convert_to(previous || E'\n' || content, 'UTF8')), 'hex')
$$;

-- What stands here already was not protected until now; its steps say so, and a change from now on is found.
alter table promotions disable trigger promotions_append_only;
do $$
declare
    found promotions;
    head text := '';
begin
    for found in select * from promotions order by step loop
        found.chained_afterwards := true;
        update promotions set chained_afterwards = true, previous_hash = head,
            hash = promotion_hash(head, promotion_content(found)) where step = found.step returning hash into head;
    end loop;
end $$;
alter table promotions enable trigger promotions_append_only;
alter table promotions alter column previous_hash drop default, alter column hash drop default;

-- One step after the other, whichever registered models they move: the lock is held until the transaction ends.
-- Steps are numbered here, so that numbers have no gaps and stand in the order of the chain.
create function chain_promotion() returns trigger language plpgsql as $$
declare
    newest promotions;
begin
    perform pg_advisory_xact_lock(7302741006);
    select * into newest from promotions order by step desc limit 1;
    new.step := coalesce(newest.step, 0) + 1;
    new.recorded_at := clock_timestamp();
    new.chained_afterwards := false;
    new.previous_hash := coalesce(newest.hash, '');
    new.hash := promotion_hash(new.previous_hash, promotion_content(new));
    return new;
end $$;
create trigger promotions_chained before insert on promotions for each row execute function chain_promotion();
