using System.CommandLine;
using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images;
using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary><c>backup full</c> and <c>backup incremental</c>.</summary>
internal sealed class BackupTakeCommand
{
    private readonly ToolWriter _output;
    private readonly MessageWriter _messages;
    private readonly BackupProgressLine _progress;
    private readonly Argument<string[]> _files = new("TOP TARGET")
    {
        Description = "The top image of the disk's chain, and the backup: a file that is not there yet",
        Arity = ArgumentArity.ZeroOrMore,
    };
    private readonly Option<string[]> _disks = new("--disk")
    {
        Description = "A further disk of the same point. May be repeated",
        HelpName = "TOP=TARGET",
    };
    private readonly Option<string?> _checkpoint = new("--checkpoint")
    {
        Description = "Start a recording bitmap of this name in TOP at the backup's point",
        HelpName = "NAME",
    };
    private readonly Option<string?> _since = new("--since")
    {
        Description = "The bitmap that says what to copy: any checkpoint that is still there",
        HelpName = "NAME",
    };
    private readonly Option<string?> _backing = new("--backing")
    {
        Description = "The backup to build on, in TARGET's folder: its manifest or its image. Without it the newest one of this disk at "
            + "whose point the bitmap began to record",
        HelpName = "PREVIOUS",
    };
    private readonly Option<BackupMode> _mode = new("--mode")
    {
        Description = "What becomes of the bitmap: 'on-success' (default) makes it record from this point on, "
            + "unless --checkpoint starts one that does; 'never' leaves it; 'always' also makes clean what was copied before an error, "
            + "for the same backup to go on with",
        HelpName = "on-success|never|always",
        CustomParser = static result =>
            CommonOptions.OneOf(result, ("on-success", BackupMode.OnSuccess), ("never", BackupMode.Never), ("always", BackupMode.Always)),
    };

    private readonly Option<BackupFallback> _fallback = new("--fallback")
    {
        Description = "Where the bitmap is not valid: 'populate' rebuilds it from allocation, where that can be relied on; "
            + "'full' copies all. Without it that is refused",
        HelpName = "populate|full",
        CustomParser = static result => CommonOptions.OneOf(result, ("populate", BackupFallback.Populate), ("full", BackupFallback.Full)),
    };

    private readonly Option<bool> _ignoreOverlays = new("--ignore-overlays")
    {
        Arity = ArgumentArity.Zero,
        Description = "Clear the bitmap although images of the same folder have one of those that hold it as their backing file, "
            + "and are not part of the chain: what it marks is lost for them",
    };

    private readonly Option<bool> _acceptMissing = new("--accept-missing")
    {
        Arity = ArgumentArity.Zero,
        Description = "Take the backup although a file of the chain ends before clusters that its image names, "
            + "as it was probably not copied whole: zeros take the place of what is missing, and the manifest says so",
    };

    private readonly Option<string?> _targetFormat = CommonOptions.Format("the backup", "-O", "--target-format");
    private readonly Option<bool> _compress = new("-c")
    {
        Arity = ArgumentArity.Zero,
        Description = "Compress the clusters of a qcow2 backup",
    };
    private readonly Option<bool> _extents = new("--extents")
    {
        Arity = ArgumentArity.Zero,
        Description = "With --output json: list what the backup holds, dirty data and dirty zeros apart",
    };
    private readonly Option<string?> _format = CommonOptions.Format("the top images");
    private readonly Option<string[]> _allowBacking = CommonOptions.AllowBacking();
    private readonly Option<OutputFormat> _form = CommonOptions.Output();

    private BackupTakeCommand(ToolWriter output, MessageWriter messages)
    {
        _output = output;
        _messages = messages;
        _progress = new BackupProgressLine(output);
    }

    public static Command CreateFull(ToolWriter output, MessageWriter messages)
    {
        var take = new BackupTakeCommand(output, messages);
        var command = new Command(
            "full",
            """
            Copy what the guest sees of disks to backups that stand alone, each with a manifest beside it (TARGET.backup.json).

            Nobody else may use the images meanwhile, which locks see to. With --checkpoint a recording bitmap starts at exactly
            that point: what it calls dirty later is what an incremental backup copies.
            """)
        {
            take._checkpoint, take._targetFormat,
        };
        take.AddTo(command);
        command.SetAction((parsed, cancellationToken) => take.RunAsync(parsed, isFull: true, cancellationToken));
        return command;
    }

    public static Command CreateIncremental(ToolWriter output, MessageWriter messages)
    {
        var take = new BackupTakeCommand(output, messages);
        var command = new Command(
            "incremental",
            """
            Copy what has changed since a checkpoint to backups that stand on earlier ones: incremental since the last
            checkpoint, differential since any older one.

            What changed is what the bitmap calls dirty in all images of the chain that hold it. Dirty parts that read as zeros
            are held as zeros, so that nothing old shows through.
            Exit codes: 0 success; 1 error; 2 the bitmap is not valid over the chain, and nothing was done.
            """)
        {
            take._since, take._checkpoint, take._backing, take._mode, take._fallback, take._ignoreOverlays, take._extents,
        };
        take.AddTo(command);
        command.SetAction((parsed, cancellationToken) => take.RunAsync(parsed, isFull: false, cancellationToken));
        return command;
    }

    private void AddTo(Command command)
    {
        command.Add(_disks);
        command.Add(_compress);
        command.Add(_acceptMissing);
        _progress.AddTo(command);
        command.Add(_format);
        command.Add(_form);
        command.Add(_allowBacking);
        command.Add(_files);
    }

    private async Task<int> RunAsync(ParseResult parsed, bool isFull, CancellationToken cancellationToken)
    {
        var options = new BackupOptions
        {
            Chain = new ChainOpenOptions { TopFormat = parsed.GetValue(_format), AllowedFolders = parsed.GetValue(_allowBacking) ?? [] },
            Since = isFull ? null : parsed.GetValue(_since),
            Checkpoint = parsed.GetValue(_checkpoint),
            Mode = isFull ? BackupMode.OnSuccess : parsed.GetValue(_mode),
            Fallback = isFull ? BackupFallback.None : parsed.GetValue(_fallback),
            IsRaw = isFull && parsed.GetValue(_targetFormat) is ImageFormat.Raw,
            Compress = parsed.GetValue(_compress),
            AcceptsMissing = parsed.GetValue(_acceptMissing),
        };
        var disks = new List<BackupDisk>();
        string? fault = CollectDisks(parsed, isFull ? null : parsed.GetValue(_backing), disks)
            ?? (!isFull && options.Since is null ? "an incremental backup needs --since NAME" : null)
            ?? options.FindFault(disks.Count);
        if (fault is not null)
        {
            _messages.Error(fault);
            return ExitCode.Error;
        }

        bool isJson = parsed.GetValue(_form) == OutputFormat.Json;
        IReadOnlyList<BackupResult> results;
        using var stop = new StopSignals(cancellationToken);
        try
        {
            if (options is { Since: { } since, Checkpoint: null, Mode: not BackupMode.Never } && !parsed.GetValue(_ignoreOverlays))
            {
                await RequireNoOtherOverlaysAsync(disks, options.Chain, since, stop.Token);
            }

            results = await _progress.RunAsync(parsed, isJson, progress => DiskBackup.RunAsync(disks, options, progress, stop.Token));
        }
        catch (BitmapStateException e) when (!isFull && string.Equals(e.BitmapName, options.Since, StringComparison.Ordinal))
        {
            _messages.Error($"{e}");
            return ExitCode.Invalid;
        }
        catch (Qcow2FormatException e) when (e.Fault.Code == FaultCode.FileTruncated && !options.AcceptsMissing)
        {
            _messages.Error(
                $"{e}. Nothing was done. Copy the file again; or --accept-missing takes a backup with zeros in place of what is missing, "
                + $"and says so in the manifest");
            return ExitCode.Error;
        }

        if (isJson)
        {
            await BackupOutput.WriteJsonAsync(results, !isFull && parsed.GetValue(_extents), _output, cancellationToken);
        }
        else
        {
            BackupOutput.WriteText(results, _output, _messages);
        }

        return ExitCode.Success;
    }

    /// <summary>Refuses to clear a bitmap in an image that another disk uses too, with the same bitmap perhaps.</summary>
    private static async Task RequireNoOtherOverlaysAsync(
        IReadOnlyList<BackupDisk> disks, ChainOpenOptions options, string since, CancellationToken cancellationToken)
    {
        foreach (BackupDisk disk in disks)
        {
            await using ImageChain chain = await ImageChain.OpenAsync(disk.TopPath, options, cancellationToken);
            IEnumerable<int> cleared = chain.Layers.Where(layer => layer.Image?.Bitmaps.TryGet(since, out _) == true)
                .Select(static layer => layer.Index);
            if (await ChainOverlays.FindAsync(chain, cleared, cancellationToken) is [{ } other, ..])
            {
                throw IOException.Of(
                    $"'{other.Path}' has {chain.Layers[other.BackingLayer]} as its backing file and is not part of the chain: "
                    + $"bitmap '{since}' would be cleared there for both. Start a new bitmap with --checkpoint, "
                        + $"or leave this one with --mode never; or --ignore-overlays, if the other image is of no use or is not backed up "
                        + $"by that bitmap");
            }
        }
    }

    private string? CollectDisks(ParseResult parsed, string? previous, List<BackupDisk> disks)
    {
        string[] files = parsed.GetValue(_files) ?? [];
        string[] further = parsed.GetValue(_disks) ?? [];
        if (files.Length is not (0 or 2) || files.Length + further.Length == 0)
        {
            return "TOP and TARGET are needed, or --disk TOP=TARGET";
        }

        if (files.Length == 2)
        {
            disks.Add(new BackupDisk(files[0], files[1], previous));
        }

        foreach (string disk in further)
        {
            int at = disk.IndexOf('=', StringComparison.Ordinal);
            if (at <= 0 || at == disk.Length - 1 || disk.IndexOf('=', at + 1) >= 0)
            {
                return PrintableMessage.Of($"--disk takes TOP=TARGET, two names without '=', not '{disk}'");
            }

            disks.Add(new BackupDisk(disk[..at], disk[(at + 1)..], previous));
        }

        return previous is not null && disks.Count > 1
            ? "--backing names the backup of one disk: with several they are looked for beside the targets"
            : null;
    }
}
