#compdef PROGRAM
# Completes PROGRAM in zsh. Load it with: source <(knarr completion zsh PROGRAM)
# or keep it as _PROGRAM in a directory of $fpath.
_knarr_complete_IDENTIFIER() {
    local knarr=knarr line more value prefix
    local -a answer candidates
    [[ PROGRAM == knarr && $words[1] == */* ]] && knarr=${~words[1]}
    answer=("${(@f)$("$knarr" __complete zsh PROGRAM "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    more=$answer[-1]
    for line in $answer[1,-2]; do
        value=${line%%$'\t'*}
        value=${value//:/\\:}
        candidates+=("$value:${line#*$'\t'}")
    done
    case $more in
        (:files*|:dirs*)
            prefix=${more#* }
            [[ -n $prefix ]] && compset -P ${(b)prefix}
            if [[ $more == :dirs* ]]; then _files -/; else _files; fi
            ;;
        (:nospace) _describe -t values value candidates -S '' ;;
        (*) (($#candidates)) && _describe -t values value candidates ;;
    esac
}
if [[ $funcstack[1] == _PROGRAM ]]; then
    _knarr_complete_IDENTIFIER "$@"
else
    compdef _knarr_complete_IDENTIFIER PROGRAM
fi
