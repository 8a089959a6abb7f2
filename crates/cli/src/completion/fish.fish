# Completes PROGRAM in fish. Load it with: knarr completion fish PROGRAM | source
# or keep it as ~/.config/fish/completions/PROGRAM.fish
function __knarr_complete_IDENTIFIER
    set -l words (commandline -opc)
    set -l knarr knarr
    if test PROGRAM = knarr; and string match -q '*/*' -- $words[1]
        set knarr (string replace -r '^~/' "$HOME/" -- $words[1])
    end
    set -l answer ($knarr __complete fish PROGRAM $words[2..-1] (commandline -ct | string collect --allow-empty) 2>/dev/null)
    test (count $answer) -gt 0; or return
    set -l more $answer[-1]
    set -e answer[-1]
    test (count $answer) -gt 0; and printf '%s\n' $answer
    if string match -qr '^:(files|dirs)' -- $more
        set -l prefix (string replace -r '^:[a-z]* ?' '' -- $more)
        set -l typed (string replace -- "$prefix" '' (commandline -ct))
        for path in (__fish_complete_path $typed)
            string match -q ':dirs*' -- $more; and not string match -qr '/(\t|$)' -- $path; and continue
            printf '%s%s\n' $prefix $path
        end
    end
end
complete -c PROGRAM -f -a '(__knarr_complete_IDENTIFIER)'
