# Completes PROGRAM in bash. Load it with: source <(knarr completion bash PROGRAM)
# or keep it as /usr/share/bash-completion/completions/PROGRAM
_knarr_complete_IDENTIFIER() {
    local knarr=knarr answer more
    case PROGRAM:$1 in
        knarr:*/*) knarr=${1/#\~\//$HOME/} ;;
    esac
    # Not from a process substitution, which wants /dev/fd.
    answer=$("$knarr" __complete bash PROGRAM "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null) || return
    mapfile -t COMPREPLY <<<"$answer"
    more=${COMPREPLY[-1]}
    unset 'COMPREPLY[-1]'
    COMPREPLY=("${COMPREPLY[@]%%$'\t'*}")
    case $more in
        :nospace) compopt -o nospace ;;
        :files*) compopt -o filenames -o default ;;
        :dirs*) compopt -o filenames -o dirnames ;;
    esac
}
complete -F _knarr_complete_IDENTIFIER PROGRAM
