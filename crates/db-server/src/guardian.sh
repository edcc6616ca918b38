# Cleans up after an owner that is gone: started beside it, waits on a pipe that only the owner holds.
dir=$1
data=$2
also=
trap '' HUP INT QUIT TERM
while IFS= read -r line; do
    case $line in
        release) exit 0 ;;
        also\ *) also="$also ${line#also }" ;;
    esac
done

# Our programs whose working directory lies in ours; a person's shell that looks around there is left alone.
servers() {
    if [ -r /proc/self/stat ]; then
        ls -l /proc/[0-9]*/cwd 2>/dev/null | while IFS= read -r line; do
            case $line in
                *" -> $dir" | *" -> $dir/"* | *" -> $dir "*) ;;
                *) continue ;;
            esac
            pid=${line#*/proc/}
            pid=${pid%%/*}
            exe=$(readlink "/proc/$pid/exe") || continue
            exe=${exe%" (deleted)"}
            case ${exe##*/} in
                postgres | initdb | pg_* | psql | cp | tar | python* | pip* | redis-* | valkey-* | pgbouncer) echo "$pid" ;;
            esac
        done
    else
        for pid in $(leaders); do
            echo "$pid"
            ps -axo pid=,ppid= | while read -r child parent; do [ "$parent" = "$pid" ] && echo "$child"; done
        done
    fi
}

leaders() {
    for file in "$dir"/*/postmaster.pid "$dir"/*/redis.pid "$dir"/*/pgbouncer.pid; do
        [ -f "$file" ] && head -n 1 "$file"
    done
}

# The processes named through the pipe, as PID:START, where the start is checked before every signal.
others() {
    for entry in $also; do
        pid=${entry%%:*}
        if [ -r /proc/self/stat ]; then
            stat=$(cat "/proc/$pid/stat" 2>/dev/null) || continue
            set -- ${stat##*) }
            [ "${20}" = "${entry##*:}" ] && [ "$1" != Z ] || continue
        else
            kill -0 "$pid" 2>/dev/null || continue
        fi
        echo "$pid"
    done
}

signal() {
    name=$1
    shift
    for pid in "$@"; do kill "-$name" "$pid" 2>/dev/null; done
}

doze() { sleep 0.05 2>/dev/null || sleep 1; }

for pid in $(others); do kill -TERM "-$pid" 2>/dev/null || kill -TERM "$pid" 2>/dev/null; done
running=$(servers)
signal CONT $running
signal QUIT $(leaders | while read -r pid; do case " $(echo $running) " in *" $pid "*) echo "$pid" ;; esac; done)
for pid in $running; do
    case $(readlink "/proc/$pid/exe" 2>/dev/null) in */postgres | "") ;; *) kill -TERM "$pid" 2>/dev/null ;; esac
done
round=0
while [ $round -lt 60 ] && [ -n "$(servers)$(others)" ]; do
    doze
    round=$((round + 1))
done
round=0
while [ $round -lt 100 ]; do
    running=$(servers)
    rest=$(others)
    [ -z "$running$rest" ] && break
    for pid in $rest; do kill -KILL "-$pid" 2>/dev/null || kill -KILL "$pid" 2>/dev/null; done
    signal KILL $running
    doze
    round=$((round + 1))
done

# A postmaster that was killed leaves its interlock segment behind; its number stands in the seventh line.
for file in "$dir"/*/postmaster.pid; do
    [ -f "$file" ] && ipcrm -m "$(sed -n '7s/.* //p' "$file")" 2>/dev/null
done
[ "$data" = keep ] && exit 0
round=0
while [ $round -lt 20 ] && [ -e "$dir" ]; do
    rm -rf "$dir" 2>/dev/null
    [ -e "$dir" ] && doze
    round=$((round + 1))
done
exit 0
