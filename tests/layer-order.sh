# The order of modules within a folder: a file may include headers to the right of it, never to the left.
# Sourced by check-layers.sh.
order common conn ledger superslab list check atomic
order hakmemctl main cmd-run cmd-top cmd-stats cmd-clients cmd-pool cmd-ping cmd-trim cmd-prewarm cmd-drain cmd-quota cmd-doctor doctor-daemon doctor-cgroup doctor-host doctor private-daemon locate clients-table ask session table output command
order libclient override deepbind seccomp library api report fork lockall guard fence heap next stats cache publish firstblocks large tails lastresort growth tick purge span huge sparse sparsepages spanpages runs holes firstregion firstlarge conversion source surplus leases private freeslabs extents originals extentfile witness copied link connection delivery descriptor identity forkmark probe misuse window sizeclass bitmap settings lock text glue confinement tables hakmem
order hakmemd main config server peer peerid request core control adopt pressure signs lease reclaim scrub pool prewarm client ledgers slots extent store memfd fairshare quota cgroup demand topology notify punchers worker stats log turn clock host
