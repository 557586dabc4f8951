-- Façades remember what is known of outcomes until something changes that they may have read; the commit tells them.
-- Which rows changed is not told: an import of millions of rows says one word, and what is asked for next is read again.

create function announce_outcomes() returns trigger language plpgsql as $$
begin
    perform pg_notify('forecastle_outcomes', '');
    return null;
end $$;

create trigger issues_announced after insert or update or delete or truncate on issues
    for each statement execute function announce_outcomes();
create trigger projects_announced after update or delete or truncate on projects
    for each statement execute function announce_outcomes();
create trigger people_announced after update or delete or truncate on people
    for each statement execute function announce_outcomes();
create trigger unlearned_periods_announced after insert or update or delete or truncate on unlearned_periods
    for each statement execute function announce_outcomes();
