using System.CommandLine;
using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Copying;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>rebase</c> and <c>chain rebase</c>: another backing file, safely or not. The second one says what became of bitmaps.</summary>
internal sealed class ChainRebaseCommand
{
    private readonly ChainOptions _options = new("FILE", "The image that gets another backing file");
    private readonly Option<string?> _backing = new("-b") { Description = "The new backing file, relative to FILE's folder, as it is stored; empty for none. A name with a protocol only with -u", HelpName = "BACKING" };
    private readonly Option<string?> _backingFormat = CommonOptions.AnyFormat("the new backing file", "-F");
    private readonly Option<bool> _unsafe = new("-u") { Arity = ArgumentArity.Zero, Description = "Change the name only: the new backing file reads as the old one did" };
    private readonly Option<bool> _quiet = new("-q") { Arity = ArgumentArity.Zero, Description = "Print nothing but errors" };
    private readonly ActiveImage _active = new("The top of the whole chain, where FILE is not: bitmaps of the images above FILE count too");
    private readonly Option<GapPolicy> _gaps = ChainPullCommand.GapsOption();
    private readonly ChainProgress _progress;
    private readonly ToolWriter _output;
    private readonly MessageWriter _messages;

    private ChainRebaseCommand(ToolWriter output, MessageWriter messages)
    {
        _output = output;
        _messages = messages;
        _progress = new ChainProgress(output);
    }

    public static Command Create(ToolWriter output, MessageWriter messages, bool tells)
    {
        var rebase = new ChainRebaseCommand(output, messages);
        var command = new Command(
            "rebase",
            """
            Give an image another backing file, so that the guest sees the same: what would read differently is copied first.

            The image's bitmaps get what was recorded in images that leave its chain. With -u nothing is opened but FILE, and only the name changes.
            """)
        {
            rebase._backing, rebase._backingFormat, rebase._unsafe, rebase._quiet, rebase._gaps,
        };
        rebase._active.AddTo(command);
        rebase._progress.AddTo(command);
        rebase._options.AddTo(command);
        command.SetAction((parsed, cancellationToken) => rebase.RunAsync(parsed, tells, cancellationToken));
        return command;
    }

    private static string? FindFault(string file, string name, string format, bool isUnsafe) =>
        !ImageFormat.IsDriver(format) ? $"Invalid format name: '{PrintableText.Escape(format)}'"
        : isUnsafe ? BackingPath.FindFault(file, name)
        : BackingPath.FindProtocol(name);

    private async Task<int> RunAsync(ParseResult parsed, bool tells, CancellationToken cancellationToken)
    {
        string file = parsed.GetRequiredValue(_options.Top);
        string? name = parsed.GetValue(_backing);
        if (name is null)
        {
            _messages.Error("Must specify backing file (-b) or use simple rebase mode (-u)");
            return ExitCode.Error;
        }

        if (name.Length > 0 && parsed.GetValue(_backingFormat) is null)
        {
            _messages.Error("Cannot change backing file without specifying its format (-F)");
            return ExitCode.Error;
        }

        string format = parsed.GetValue(_backingFormat) ?? ImageFormat.Raw;
        bool isUnsafe = parsed.GetValue(_unsafe);
        if (FindFault(file, name, format, isUnsafe) is { } fault)
        {
            _messages.Error(fault);
            return ExitCode.Error;
        }

        ChainOpenOptions open = _options.Read(parsed);
        await using ImageChain chain = isUnsafe
            ? await ImageChain.OpenAsync(file, open with { WritableLayers = [0], FollowBacking = false }, cancellationToken)
            : await ChainAccess.OpenAsync(_active.Read(parsed) ?? file, open, look => ChainRebase.WritableLayers(look, ChainPlace.Find(look, file)), cancellationToken);
        if (isUnsafe)
        {
            Qcow2Image image = chain.Layers[0].Image ?? throw new Qcow2UnsupportedException(UnsupportedReason.Format, "a raw image has no backing file");
            if (name.Length > 0 && !BackingPath.HasProtocol(name) && chain.IndexOf(BackingPath.Combine(file, name)) is not null)
            {
                _messages.Error("The image cannot be its own backing file");
                return ExitCode.Error;
            }

            if (!parsed.GetValue(_quiet))
            {
                await OverlayWarning.WriteAsync(chain, [0], "shows something else afterwards unless the new backing file reads as the old one did", _messages, cancellationToken);
            }

            await image.SetBackingFileAsync(name.Length == 0 ? null : name, format, cancellationToken);
            return ExitCode.Success;
        }

        _messages.WarnOf(chain);
        int top = ChainPlace.Find(chain, file);
        if (chain.Layers.Skip(top + 1).Any(static layer => layer.Image is { Bitmaps.Count: > 0 }))
        {
            await _active.RequireNoOthersAsync(parsed, chain, [top], cancellationToken);
        }

        ImageChain? backing = name.Length == 0
            ? null
            : await ImageChain.OpenAsync(BackingPath.Combine(file, name), _options.Read(parsed) with { TopFormat = format }, cancellationToken);
        try
        {
            var how = new RebaseOptions { Top = top, Gaps = parsed.GetValue(_gaps), BackingFile = name };
            bool isQuiet = !tells || _options.IsJson(parsed) || parsed.GetValue(_quiet);
            if (tells)
            {
                await _progress.ForetellAsync(
                    parsed, isQuiet, _messages, async () => (await ChainMeasurement.OfRebaseAsync(chain, backing, how, MeasureDepth.Bitmaps, cancellationToken)).Forecast);
            }

            ChainResult result = await _progress.RunAsync(parsed, isQuiet, chain, steps => ChainRebase.RebaseAsync(chain, backing, how, steps, cancellationToken), cancellationToken);
            if (tells)
            {
                ChangeOutput.Write("Image rebased.", result, _options.IsJson(parsed), _output);
            }

            return ExitCode.Success;
        }
        finally
        {
            if (backing is not null)
            {
                await backing.DisposeAsync();
            }
        }
    }
}
