using System.CommandLine;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>rebase</c> and <c>chain rebase</c>: another backing file, safely or not. The latter reports on bitmaps.</summary>
internal sealed class ChainRebaseCommand
{
    private readonly ChainOptions _options = new("FILE", "The image whose backing file changes");
    private readonly Option<string?> _backing = CommonOptions.Value(
        "-b", "The new backing file, as it is stored: relative to FILE's folder; empty for none", "BACKING");
    private readonly Option<string?> _backingFormat = CommonOptions.AnyFormat("the new backing file", "-F");
    private readonly Option<bool> _unsafe = CommonOptions.Flag("-u", "Change only the name: the new backing file has the same content");
    private readonly Option<bool> _quiet = CommonOptions.Quiet();
    private readonly Option<bool> _share = CommonOptions.ForceShare("Open the new backing file even if another process writes it");
    private readonly Option<string?> _cache = CacheModes.Create();
    private readonly Option<string?> _sourceCache = CacheModes.CreateForSource("The backing files'");
    private readonly ActiveImage _active = new("The top of the whole chain, if that is not FILE: bitmaps of the images above count too");
    private readonly Option<string?> _gaps = ChainPullCommand.GapsOption();
    private readonly ChainProgress _progress;
    private readonly ToolWriter _output;
    private readonly MessageWriter _messages;

    private ChainRebaseCommand(ToolWriter output, MessageWriter messages)
    {
        _output = output;
        _messages = messages;
        _progress = new ChainProgress(output, _quiet);
    }

    public static Command Create(ToolWriter output, MessageWriter messages, bool tells)
    {
        var rebase = new ChainRebaseCommand(output, messages);
        var command = new Command(
            "rebase",
            """
            Change the backing file of an image

            The guest sees the same: what would read differently is copied first. The
            bitmaps of the image take over what the images that leave its chain recorded.
            With -u only the stored name changes, and only FILE is opened; the name may
            then have a protocol.
            """)
        {
            rebase._backing, rebase._backingFormat, rebase._unsafe, rebase._quiet, rebase._share, rebase._cache, rebase._sourceCache,
            rebase._gaps,
        };
        rebase._active.AddTo(command);
        rebase._progress.AddTo(command);
        rebase._options.AddTo(command);
        command.SetAction((parsed, cancellationToken) => rebase.RunAsync(parsed, tells, cancellationToken));
        return command;
    }

    /// <summary>What is wrong with the command line, in qemu-img's words and order; null when nothing is.</summary>
    private string? FindFault(ParseResult parsed, string file, string name, bool isUnsafe) =>
        parsed.GetValue(_backing) is null && !isUnsafe ? "Must specify backing file (-b) or use unsafe mode (-u)"
        : (CacheModes.FindFault(parsed.GetValue(_cache)) ?? CacheModes.FindSourceFault(parsed.GetValue(_sourceCache))) is { } cacheFault
            ? cacheFault
        : parsed.GetValue(_backingFormat) is { } format && !ImageFormat.IsKnown(format)
            ? PrintableMessage.Of($"Invalid format name: '{format}'")
        : name.Length > 0 && parsed.GetValue(_backingFormat) is null
            ? PrintableMessage.Of($"Could not change the backing file to '{name}': backing format must be specified")
        : isUnsafe ? BackingPath.FindFault(file, name)
        : null;

    private async Task<int> RunAsync(ParseResult parsed, bool tells, CancellationToken cancellationToken)
    {
        string file = parsed.GetRequiredValue(_options.Top);
        bool isUnsafe = parsed.GetValue(_unsafe);
        // Without a name, -u removes the backing file, as in qemu-img.
        string name = parsed.GetValue(_backing) ?? "";
        if (FindFault(parsed, file, name, isUnsafe) is { } fault)
        {
            _messages.Error(fault);
            return ExitCode.Error;
        }

        string format = parsed.GetValue(_backingFormat) ?? ImageFormat.Raw;
        ChainOpenOptions open = _options.Read(parsed);
        return isUnsafe
            ? await RenameAsync(parsed, open, name, format, cancellationToken)
            : await RebaseAsync(parsed, open, name, format, tells, cancellationToken);
    }

    private async Task<int> RenameAsync(
        ParseResult parsed, ChainOpenOptions open, string name, string format, CancellationToken cancellationToken)
    {
        string file = parsed.GetRequiredValue(_options.Top);
        await using ImageChain chain = await ImageChain.OpenAsync(
            file, open with { WritableLayers = [0], FollowBacking = false }, cancellationToken);
        Qcow2Image image = (chain.Layers[0] as Qcow2Layer)?.Image
            ?? throw IOException.Of($"a raw image has no backing file");
        if (name.Length > 0 && chain.IndexOf(BackingPath.Combine(file, name)) is not null)
        {
            _messages.Error("The image cannot be its own backing file");
            return ExitCode.Error;
        }

        if (!parsed.GetValue(_quiet))
        {
            await OverlayWarning.WriteAsync(
                () => FoundOverlay.FindAsync(chain, [0], cancellationToken),
                "shows something else afterwards unless the new backing file reads as the old one did", _messages, cancellationToken);
        }

        await image.SetBackingFileAsync(name.Length == 0 ? null : name, format, cancellationToken);
        return ExitCode.Success;
    }

    private async Task<int> RebaseAsync(
        ParseResult parsed, ChainOpenOptions open, string name, string format, bool tells, CancellationToken cancellationToken)
    {
        string file = parsed.GetRequiredValue(_options.Top);
        var how = new MergeOptions
        {
            TopPath = file,
            BasePath = name.Length == 0 ? null : BackingPath.Combine(file, name),
            BackingFile = name,
            DisablesGaps = parsed.GetValue(_gaps) is ChainPullCommand.Disable,
            AcceptsLosses = !tells,
        };
        var openBase = open with
        {
            TopFormat = format,
            Image = new Qcow2OpenOptions { Lock = parsed.GetValue(_share) ? ImageLock.SharedRead : ImageLock.Read },
        };
        await using ChainRebase rebase = await ChainRebase.OpenRebaseAsync(
            _active.Read(parsed) ?? file, how, open, openBase, cancellationToken);
        _messages.WarnOf(rebase.Chain);
        await _active.RequireNoOthersAsync(parsed, rebase, cancellationToken);
        bool isQuiet = !tells || _options.IsJson(parsed) || parsed.GetValue(_quiet);
        if (!tells)
        {
            await _messages.WarnOfTruncationAsync(rebase.Chain, withDataFiles: true, cancellationToken);
            if (rebase.BaseChain is { } backing)
            {
                await _messages.WarnOfTruncationAsync(backing, withDataFiles: true, cancellationToken);
            }

            _messages.WarnOf(rebase.ChangedSnapshots);
        }

        ChainResult result = await _progress.RunAsync(parsed, isQuiet, rebase, tells ? _messages : null, cancellationToken);
        if (tells)
        {
            ChangeOutput.Write("Image rebased.", result, _options.IsJson(parsed), _output);
        }

        return ExitCode.Success;
    }
}
