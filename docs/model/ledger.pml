/*
 * The ledger's protocol on one SuperSlab, for spin (make check-model).
 *
 * Modelled: the state word and its sequence, and who changes it how (common/ledger.h; libclient/extents.c, source.c;
 * hakmemd/reclaim.c, client.c, scrub.c). Two actors that see each other only through the word, and through messages that
 * arrive late; a puncher that works at a time of its own; a fork with a child that keeps reading what it inherited; a
 * connection that either side may lose at any moment, each noticing in its own time; either side dying.
 *
 * -DRESTART: the daemon's descriptors and ledgers outlive it (docs/restart.md). One that is killed may have a successor, which
 * takes over; a client that notices the end goes on heeding its words, and attaches to the successor, or gives the ledger up.
 *
 * Not modelled: quotas; more than one SuperSlab (slots do not interact). -DHOSTILE puts a client in place that writes and
 * asks for anything; then only what the daemon owes to others is asserted.
 *
 * Each run ends: clients do a bounded number of steps. What must hold when nobody can go on is asserted by the process
 * `end_of_run`; what must hold always is asserted where it happens:
 *
 *   - no punch of memory that anybody relies on: not what the client has live in the file, not what a forked child reads,
 *     not after the extent has left the client;
 *   - no change of the word that ledger_transition_is_allowed() does not allow;
 *   - memory taken as zero is zero; a live block is never lost;
 *   - nothing is leased again while anything of the former tenant could still reach it;
 *   - in the end the SuperSlab is in stock, discarded, or rightly held: none is lost, and no state is stuck.
 *
 * Broken variants, in each of which spin must find an error (make check-model sees to it):
 *   -DBROKEN_LOSS   a client that stops heeding its words when it loses the connection, as if the daemon were gone
 *   -DBROKEN_PIN    a fork that does not pin
 *   -DBROKEN_TAKE   a client that takes a SuperSlab which the daemon is punching
 *   -DBROKEN_END    a daemon that does not wait for its puncher when a client ends
 *   -DBROKEN_PROOF  a daemon that scrubs without the proof that nobody holds the memory
 * and, with -DRESTART:
 *   -DBROKEN_KEEP   a client that uses memory by its own lights while it waits for the successor
 *   -DBROKEN_ADOPT  a successor that leaves RECLAIMING where it finds it
 *   -DBROKEN_BACK   a successor that does not look for what was returned while nobody listened
 *   -DBROKEN_FORGET a client that gives the ledger up without winning back what is free
 */

mtype = { SLAB_EMPTY, SLAB_ACTIVE, SLAB_IDLE, SLAB_RECLAIMING, SLAB_RECLAIMED, SLAB_PINNED }
mtype = { LEDGER_CLIENT, LEDGER_DAEMON }
mtype = { EXTENT_STOCK, EXTENT_LEASED, EXTENT_ORPHAN, EXTENT_SCRUBBING, EXTENT_DISCARDED, EXTENT_ABANDONED }
mtype = { UNMAPPED, SHARED, COPIED, REPLACED }

#ifndef N_STEPS
#define N_STEPS 5 /* of the client */
#endif
#ifndef N_PUNCHES
#define N_PUNCHES 3 /* begun by the daemon: they may fail, and be tried again, for ever */
#endif

/* ---- the word: ledger_transition_is_allowed(), pair by pair; docs/model/compare-transitions.sh reads these lines ---- */

#define ledger_transition_is_allowed(actor, from, to) ( \
    (actor == LEDGER_CLIENT && from == SLAB_EMPTY      && to == SLAB_ACTIVE) || \
    (actor == LEDGER_CLIENT && from == SLAB_IDLE       && to == SLAB_ACTIVE) || \
    (actor == LEDGER_CLIENT && from == SLAB_RECLAIMED  && to == SLAB_ACTIVE) || \
    (actor == LEDGER_CLIENT && from == SLAB_ACTIVE     && to == SLAB_IDLE) || \
    (actor == LEDGER_CLIENT && from == SLAB_IDLE       && to == SLAB_EMPTY) || \
    (actor == LEDGER_CLIENT && from == SLAB_RECLAIMED  && to == SLAB_EMPTY) || \
    (actor == LEDGER_CLIENT && from == SLAB_PINNED     && to == SLAB_EMPTY) || \
    (actor == LEDGER_CLIENT && from == SLAB_ACTIVE     && to == SLAB_PINNED) || \
    (actor == LEDGER_CLIENT && from == SLAB_IDLE       && to == SLAB_PINNED) || \
    (actor == LEDGER_CLIENT && from == SLAB_RECLAIMING && to == SLAB_PINNED) || \
    (actor == LEDGER_CLIENT && from == SLAB_RECLAIMED  && to == SLAB_PINNED) || \
    (actor == LEDGER_DAEMON && from == SLAB_IDLE       && to == SLAB_RECLAIMING) || \
    (actor == LEDGER_DAEMON && from == SLAB_RECLAIMING && to == SLAB_RECLAIMED) || \
    (actor == LEDGER_DAEMON && from == SLAB_RECLAIMING && to == SLAB_IDLE) || \
    (actor == LEDGER_DAEMON && from == SLAB_EMPTY      && to == SLAB_EMPTY) || \
    (actor == LEDGER_DAEMON && from == SLAB_ACTIVE     && to == SLAB_EMPTY) || \
    (actor == LEDGER_DAEMON && from == SLAB_IDLE       && to == SLAB_EMPTY) || \
    (actor == LEDGER_DAEMON && from == SLAB_RECLAIMING && to == SLAB_EMPTY) || \
    (actor == LEDGER_DAEMON && from == SLAB_RECLAIMED  && to == SLAB_EMPTY) || \
    (actor == LEDGER_DAEMON && from == SLAB_PINNED     && to == SLAB_EMPTY) )

mtype word_state = SLAB_EMPTY;
byte word_sequence = 0;

/* ledger_slab_change(): compare-and-swap of the whole word. */
inline ledger_slab_change(actor, from, from_at, to, changed) {
    atomic {
        assert(ledger_transition_is_allowed(actor, from, to));
        if
        :: word_state == from && word_sequence == from_at ->
            word_state = to;
            word_sequence++;
            changed = true
        :: else -> changed = false
        fi
    }
}

inline ledger_slot_read(state, sequence) {
    atomic { state = word_state; sequence = word_sequence }
}

/* ---- the world ---- */

mtype place = EXTENT_STOCK;   /* as the daemon has it */
mtype mapping = UNMAPPED;     /* the client's */
bool file_is_dirty = false;   /* the file holds something else than zeroes */
bool live = false;            /* the client has a block in it */
bool live_in_file = false;    /* ... whose bytes are in the file, and not in private copies */
bool believed_zero = false;   /* the client would hand it out as zero */
bool child_alive = false;     /* a forked child maps the copy */
bool child_needs_file = false;/* ... and reads bytes that are in the file */
bool client_alive = true, daemon_alive = true;
bool client_linked = false;   /* the client believes in its connection */
bool socket_open = false;     /* the daemon can still receive from the client: false is EOF at its end */
bool return_sent = false;     /* a Return is under way */
bool punch_in_flight = false; /* submitted to a worker; done() not yet run */
bool punch_has_run = false, punch_failed = false;
bool heeds_words = false;     /* the client goes by its words; without a link, by those of a ledger that it keeps */
bool detached = false;        /* taken over from a daemon before; the client is not back yet */
byte n_forks = 0, n_punches = 0;

#define is_mapped_somewhere (mapping == SHARED || mapping == COPIED || child_alive)

/* ---- the client ---- */

/* source.c, take_from() and the allocation that follows: the SuperSlab gets a block. */
inline client_use() {
#ifndef HOSTILE
    assert(!believed_zero || mapping == REPLACED || !file_is_dirty);
#endif
    believed_zero = false;
    live = true;
    if
    :: mapping == SHARED -> live_in_file = true; file_is_dirty = true
    :: else -> skip /* bytes written now go to private pages */
    fi
}

/* extents_activate() */
inline client_take() {
    if
    :: mapping == COPIED || mapping == REPLACED -> client_use()
    :: mapping == SHARED && !heeds_words -> client_use()
    :: else ->
        ledger_slot_read(seen, seen_at);
        if
        :: seen == SLAB_IDLE ->
            ledger_slab_change(LEDGER_CLIENT, seen, seen_at, SLAB_ACTIVE, c_ok);
            if
            :: c_ok -> client_use()
            :: else -> skip /* lost a race with the daemon: looks again another time */
            fi
        :: seen == SLAB_RECLAIMED ->
            ledger_slab_change(LEDGER_CLIENT, seen, seen_at, SLAB_ACTIVE, c_ok);
            if
            :: c_ok -> believed_zero = true; client_use()
            :: else -> skip
            fi
#ifdef BROKEN_TAKE
        :: seen == SLAB_RECLAIMING ->
            ledger_slab_change(LEDGER_CLIENT, seen, seen_at, SLAB_ACTIVE, c_ok);
            if
            :: c_ok -> client_use()
            :: else -> skip
            fi
#endif
        :: else -> skip /* RECLAIMING: busy */
        fi
    fi
}

/* extents_deactivate(): every block is free. */
inline client_free() {
    live = false;
    live_in_file = false;
    if
    :: (mapping == SHARED || mapping == COPIED) && heeds_words ->
        ledger_slot_read(seen, seen_at);
        if
        :: seen == SLAB_ACTIVE ->
            ledger_slab_change(LEDGER_CLIENT, seen, seen_at, SLAB_IDLE, c_ok)
        :: else -> skip /* PINNED */
        fi
    :: else -> skip
    fi
}

/* extents_convert(), in the prepare handler; then fork. */
inline client_fork() {
    if
    :: mapping == SHARED && heeds_words ->
        do
        :: ledger_slot_read(seen, seen_at);
            if
            :: seen == SLAB_EMPTY || seen == SLAB_PINNED -> break
            :: else ->
#ifdef BROKEN_PIN
                break;
#endif
                ledger_slab_change(LEDGER_CLIENT, seen, seen_at, SLAB_PINNED, c_ok);
                if
                :: c_ok -> break
                :: else -> skip
                fi
            fi
        od
    :: else -> skip
    fi;
    if
    :: mapping == SHARED -> mapping = COPIED; believed_zero = false
    :: else -> skip
    fi;
    n_forks++;
    atomic {
        child_alive = (mapping == COPIED);
        child_needs_file = live_in_file
    }
}

/* extents_unmap() and link_return(): the SuperSlab is free and worth nothing. */
inline client_give_up() {
    c_ok = true;
    if
    :: heeds_words && client_linked ->
        ledger_slot_read(seen, seen_at);
        if
        :: seen == SLAB_IDLE || seen == SLAB_RECLAIMED || seen == SLAB_PINNED ->
            ledger_slab_change(LEDGER_CLIENT, seen, seen_at, SLAB_EMPTY, c_ok)
        :: seen == SLAB_EMPTY -> skip
        :: else -> c_ok = false /* the daemon is at work on it */
        fi
    :: else -> skip
    fi;
    if
    :: c_ok ->
        mapping = UNMAPPED;
        atomic {
            if
            :: client_linked && socket_open -> return_sent = true
            :: else -> skip
            fi
        }
    :: else -> skip
    fi
}

/*
 * The connection is lost, or given up. The daemon may live, and not know it: what was free is won back by
 * compare-and-swap, and what cannot be won is replaced by private memory.
 */
inline client_lose_link() {
    client_linked = false;
#if defined(BROKEN_LOSS) || defined(BROKEN_FORGET)
    heeds_words = false;
#else
    if
    :: mapping == SHARED && !live ->
        do
        :: ledger_slot_read(seen, seen_at);
            if
            :: seen == SLAB_IDLE || seen == SLAB_RECLAIMED ->
                ledger_slab_change(LEDGER_CLIENT, seen, seen_at, SLAB_ACTIVE, c_ok);
                if
                :: c_ok -> break
                :: else -> skip
                fi
            :: seen == SLAB_RECLAIMING -> mapping = REPLACED; believed_zero = true; break
            :: else -> break /* ACTIVE, PINNED: not the daemon's */
            fi
        od
    :: else -> skip
    fi;
    heeds_words = false
#endif
}

#ifdef RESTART
/* link.c: the end is noticed, and the ledger kept. */
inline client_keep_ledger() {
    client_linked = false;
#ifdef BROKEN_KEEP
    heeds_words = false
#endif
}

/* Hello with the token, and adopt_reattach(): the ledger goes on. What its words say was let go of has left the client. */
inline client_come_back() {
    atomic {
        detached = false;
        socket_open = true;
        client_linked = true;
        heeds_words = true;
#ifndef BROKEN_BACK
        if
        :: place == EXTENT_LEASED && word_state == SLAB_EMPTY -> return_sent = true
        :: else -> skip
        fi
#endif
    }
}
#endif

/* The slot is emptied, and the extent arrives. */
inline arrive() {
    place == EXTENT_STOCK && daemon_alive;
    /* client_add_extent(): whatever the slot's last extent has left in the word. */
    if
    :: true -> skip
    :: true -> word_state = SLAB_ACTIVE
    :: true -> word_state = SLAB_IDLE
    :: true -> word_state = SLAB_RECLAIMING
    :: true -> word_state = SLAB_RECLAIMED
    :: true -> word_state = SLAB_PINNED
    fi;
    assert(ledger_transition_is_allowed(LEDGER_DAEMON, word_state, SLAB_EMPTY));
    word_state = SLAB_EMPTY;
    place = EXTENT_LEASED;
    client_linked = true;
    socket_open = true;
    mapping = SHARED /* or its descriptor is held, or under way: all the same to the proof */
}

#ifdef HOSTILE

/* Writes anything at any time, returns what it still has mapped, and more than once. */
active proctype client() {
    byte steps;
end_unserved:
    atomic { arrive() }
    do
    :: atomic { steps < N_STEPS ->
        steps++;
        if
        :: word_state = SLAB_EMPTY
        :: word_state = SLAB_ACTIVE
        :: word_state = SLAB_IDLE
        :: word_state = SLAB_RECLAIMING
        :: word_state = SLAB_RECLAIMED
        :: word_state = SLAB_PINNED
        :: word_sequence++
        :: word_sequence--
        :: return_sent = true
        :: mapping = UNMAPPED
        :: child_alive = (mapping != UNMAPPED)
        :: socket_open = false
        fi }
    :: break
    od;
    atomic { client_alive = false; client_linked = false; socket_open = false; mapping = UNMAPPED }
}

#else

active proctype client() {
    mtype seen;
    byte seen_at, steps;
    bool c_ok;

    /* Hello, Lease: the extent arrives and is mapped. */
end_unserved:
    atomic {
        arrive();
        heeds_words = true
    }
    ledger_slot_read(seen, seen_at);
    if
    :: seen == SLAB_EMPTY && daemon_alive ->
        ledger_slab_change(LEDGER_CLIENT, seen, seen_at, SLAB_ACTIVE, c_ok);
        if
        :: c_ok -> client_free()
        :: else -> skip
        fi
    :: else -> skip
    fi;
    do
    :: steps < N_STEPS ->
        steps++;
        if
        :: !live && mapping != UNMAPPED -> client_take()
        :: live -> client_free()
        :: n_forks < 2 && !child_alive -> client_fork()
        :: !live && mapping != UNMAPPED && (client_linked || !heeds_words) -> client_give_up()
        :: client_linked -> client_lose_link(); socket_open = false
        :: client_linked -> client_lose_link() /* somebody else holds a copy of the socket: no EOF */
        :: client_linked -> socket_open = false /* the program closed it; the library has not noticed */
#ifdef RESTART
        :: client_linked && !socket_open -> client_keep_ledger()
        :: !client_linked && heeds_words -> client_lose_link() /* too long, or a daemon that does not know us */
#ifdef BROKEN_KEEP
        :: !client_linked && detached && daemon_alive -> client_come_back()
#else
        :: atomic { !client_linked && heeds_words && detached && daemon_alive -> client_come_back() }
#endif
#endif
        :: else -> skip
        fi
    :: break
    od;
    /* Lives on, doing nothing more, or dies. */
    if
    :: true -> skip
    :: true ->
        atomic {
            client_alive = false;
            client_linked = false;
            socket_open = false;
            live = false;
            live_in_file = false;
            mapping = UNMAPPED
        }
    fi
}

#endif

/* The inherited memory is read and written (to private copies) until the child ends or execs. */
active proctype child() {
end_none:
    do
    :: atomic { child_alive -> child_alive = false; child_needs_file = false }
    :: atomic { !client_alive && !child_alive -> break }
    od
}

/* ---- the daemon ---- */

/*
 * client_remove_extent(), scrub_accept(): the extent has left the client. Its word stays as it is: the client may live on
 * without us, and go by it.
 */
inline daemon_take_back() {
    /* F_SETLEASE: the kernel says whether anybody has it mapped or open. */
    atomic {
        if
#ifndef BROKEN_PROOF
        :: is_mapped_somewhere -> place = EXTENT_ORPHAN
#endif
        :: else -> place = EXTENT_SCRUBBING
        fi
    }
}

active proctype daemon() {
    mtype found, punched;
    byte found_at, punched_at;
    bool d_ok, leaving;

end_idle:
    do
#ifdef RESTART
    :: atomic { !daemon_alive && place != EXTENT_ABANDONED ->
        /* The successor. What the one before knew of itself is gone; what it recorded is not. (Steps that it was in the
         * midst of are still made after the kill here: they stand for ones made just before.) */
        leaving = false;
        punch_in_flight = false;
        return_sent = false;
        if
        :: place == EXTENT_LEASED -> detached = true
        :: place == EXTENT_ORPHAN -> skip
        :: else -> place = EXTENT_DISCARDED /* stock, and what was being scrubbed: not kept */
        fi;
        daemon_alive = true };
        /* client_readd_extent() */
        ledger_slot_read(found, found_at);
        if
#ifndef BROKEN_ADOPT
        :: found == SLAB_RECLAIMING -> ledger_slab_change(LEDGER_DAEMON, found, found_at, SLAB_IDLE, d_ok)
#endif
        :: else -> skip
        fi
    :: atomic { !daemon_alive && place == EXTENT_ABANDONED -> break }
#else
    :: !daemon_alive -> break
#endif

    /* reclaim.c: a word that has been IDLE, and the same, for long enough. */
    :: place == EXTENT_LEASED && !punch_in_flight && !leaving && (socket_open || detached) &&
        word_state == SLAB_IDLE && n_punches < N_PUNCHES ->
        ledger_slot_read(found, found_at);
        if
        :: found == SLAB_IDLE ->
            ledger_slab_change(LEDGER_DAEMON, found, found_at, SLAB_RECLAIMING, d_ok);
            if
            :: d_ok ->
                punched = SLAB_RECLAIMING;
                punched_at = found_at + 1;
                n_punches++;
                punch_has_run = false;
                punch_in_flight = true
            :: else -> skip
            fi
        :: else -> skip
        fi

    /* punch_done() */
    :: punch_in_flight && punch_has_run ->
        if
        :: punch_failed -> ledger_slab_change(LEDGER_DAEMON, punched, punched_at, SLAB_IDLE, d_ok)
        :: else -> ledger_slab_change(LEDGER_DAEMON, punched, punched_at, SLAB_RECLAIMED, d_ok)
        fi;
        punch_in_flight = false;
        if
        :: leaving -> leaving = false; daemon_take_back()
        :: else -> skip
        fi

    /* lease_return(): after the work on it, if there is some. */
    :: return_sent && place == EXTENT_LEASED && socket_open ->
        return_sent = false;
        if
        :: punch_in_flight -> leaving = true
        :: else -> daemon_take_back()
        fi

    /* client_end(): end of file, and no work in flight. */
#ifdef BROKEN_END
    :: place == EXTENT_LEASED && !socket_open -> daemon_take_back()
#else
    :: place == EXTENT_LEASED && !socket_open && !detached && !punch_in_flight -> daemon_take_back()
#endif
    /* adopt.c: it has been waited for long enough, or its process is gone. */
    :: detached -> detached = false

    /* scrub.c: an orphan that nobody holds any more. */
    :: place == EXTENT_ORPHAN && !is_mapped_somewhere -> place = EXTENT_SCRUBBING
    :: place == EXTENT_SCRUBBING ->
        assert(!is_mapped_somewhere && !punch_in_flight && !live_in_file && !child_needs_file);
        if
        :: true -> file_is_dirty = false; place = EXTENT_STOCK
        :: true -> place = EXTENT_DISCARDED
        fi

    od
}

/* worker.c: the punch itself, at a time of its own. */
active proctype puncher() {
end_idle:
    do
    :: atomic { punch_in_flight && !punch_has_run && daemon_alive ->
        if
        :: true ->
            assert(place == EXTENT_LEASED);
#ifndef HOSTILE
            assert(!live_in_file);
            assert(!child_needs_file);
#endif
            file_is_dirty = false;
            punch_failed = false
        :: punch_failed = true
        fi;
        punch_has_run = true }
#ifndef RESTART
    :: atomic { !daemon_alive -> break }
#endif
    od
}

/*
 * SIGKILL of the daemon: its threads have left the kernel before the client sees the end of file; a punch that has not
 * begun by then never will. What it leased is nobody's but its holders'.
 */
active proctype killer() {
    if
    :: atomic { daemon_alive = false; punch_in_flight = false; place = EXTENT_ABANDONED }
#ifdef RESTART
    :: atomic { daemon_alive = false; punch_in_flight = false; return_sent = false; detached = false; socket_open = false }
#endif
    :: skip
    fi
}

/* ---- what must hold when nobody can go on ---- */

active proctype end_of_run() {
    atomic {
        timeout;
        /* None lost: with the holders gone, the daemon has it back. */
        assert(!daemon_alive || client_alive || child_alive ||
               place == EXTENT_STOCK || place == EXTENT_DISCARDED);
        /* Returned, and nobody holds it: likewise, while the client lives on. */
        assert(!daemon_alive || mapping != UNMAPPED || child_alive || client_linked || socket_open ||
               place == EXTENT_STOCK || place == EXTENT_DISCARDED);
#ifndef HOSTILE
        /* No state stuck: a living client with a link is not left with a punch that nobody finishes. */
        assert(!(daemon_alive && client_alive && client_linked && word_state == SLAB_RECLAIMING));
        /* One that heeds no words holds nothing whose fate depends on one. */
        assert(!(client_alive && !heeds_words && mapping == SHARED && !live && word_state == SLAB_RECLAIMING));
        /* What a linked client has let go of is not kept for it. */
        assert(!(daemon_alive && client_alive && client_linked && socket_open && mapping == UNMAPPED && !child_alive &&
                 place == EXTENT_LEASED));
#endif
        assert(!punch_in_flight || !daemon_alive)
    }
}
