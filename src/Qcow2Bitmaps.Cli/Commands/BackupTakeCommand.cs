using System.CommandLine;
using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Cli.Output;
using Qcow2Bitmaps.Format;
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
        Description = "The top image of the disk, and the backup: a new file",
        Arity = ArgumentArity.ZeroOrMore,
    };
    private readonly Option<string[]> _disks = CommonOptions.Repeatable(
        "--disk", "Back up another disk at the same point. Repeatable", "TOP=TARGET");
    private readonly Option<string?> _checkpoint = CommonOptions.Value(
        "--checkpoint", "Start a recording bitmap of this name in TOP at the point of the backup", "NAME");
    private readonly Option<string?> _since = CommonOptions.Value(
        "--since", "Copy what this bitmap marks: any existing checkpoint", "NAME");
    private readonly Option<string?> _backing = CommonOptions.Value(
        "--backing", "The backup to build on (manifest or image). Default: the newest that started the bitmap", "PREVIOUS");
    private readonly Option<BitmapSyncMode> _mode = new("--mode")
    {
        Description = "When to clear the bitmap: 'on-success' (default, without --checkpoint), 'never', or 'always'; see above",
        HelpName = "on-success|never|always",
        CustomParser = static result =>
            CommonOptions.OneOf(
                result, ("on-success", BitmapSyncMode.OnSuccess), ("never", BitmapSyncMode.Never), ("always", BitmapSyncMode.Always)),
    };

    private readonly Option<BackupFallback> _fallback = new("--fallback")
    {
        Description = "If the bitmap is not valid: 'populate' rebuilds it from allocation, 'full' copies everything",
        HelpName = "populate|full",
        CustomParser = static result => CommonOptions.OneOf(result, ("populate", BackupFallback.Populate), ("full", BackupFallback.Full)),
    };

    private readonly Option<bool> _ignoreOverlays = CommonOptions.Flag(
        "--ignore-overlays", "Clear the bitmap even if overlays outside this chain use its images: they lose what it marks");

    private readonly Option<bool> _acceptMissing = CommonOptions.Flag(
        "--accept-missing", "Back up an image whose file ends too early. Zeros replace what is missing; the manifest says so");

    private readonly Option<string?> _targetFormat = CommonOptions.Format("the backup", "-O", "--target-format");
    private readonly Option<bool> _compress = CommonOptions.Flag("-c", "Compress the clusters of a qcow2 backup");
    private readonly Option<bool> _extents = CommonOptions.Flag(
        "--extents", "With --output json: list the extents of the backup, data and zeros");
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
            Back up disks completely

            Each backup stands alone. Its manifest is beside it (TARGET.backup.json).
            Locks keep others from using the images meanwhile. With --checkpoint a
            recording bitmap starts at the point of the backup, so that an incremental
            backup can copy what changes later.
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
            Back up what changed since a checkpoint

            The backup is based on an earlier one. With the last checkpoint it is
            incremental, with an older one differential. It copies what the bitmap marks
            in all images of the chain. Parts that are dirty and read as zeros are stored
            as zeros, so that no old data show through.

            Without --checkpoint the bitmap is cleared after the backup, and records from
            there on (--mode on-success). With --mode never it stays as it is. With
            --mode always, what was copied before an error is cleared too; the same
            command then resumes the backup.

            The backup to build on must be in the folder of TARGET. If the bitmap is not
            valid, the backup is refused unless --fallback is given.

            Exit codes: 0 success; 1 error; 2 the bitmap is not valid over the chain, and
            nothing was changed.
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
            Mode = isFull ? BitmapSyncMode.OnSuccess : parsed.GetValue(_mode),
            Fallback = isFull ? BackupFallback.None : parsed.GetValue(_fallback),
            IsRaw = isFull && parsed.GetValue(_targetFormat) is ImageFormat.Raw,
            Compress = parsed.GetValue(_compress),
            AcceptsMissing = parsed.GetValue(_acceptMissing),
        };
        var disks = new List<BackupDisk>();
        string? fault = CollectDisks(parsed, isFull ? null : parsed.GetValue(_backing), disks)
            ?? (!isFull && options.Since is null ? "an incremental backup needs --since NAME" : null);
        if (fault is not null)
        {
            _messages.Error(fault);
            return ExitCode.Error;
        }

        bool isJson = parsed.GetValue(_form) == OutputFormat.Json;
        IReadOnlyList<StoredBackup> backups;
        using var stop = new StopSignals(cancellationToken);
        try
        {
            if (options is { Since: { } since, Checkpoint: null, Mode: not BitmapSyncMode.Never } && !parsed.GetValue(_ignoreOverlays))
            {
                await RequireNoOtherOverlaysAsync(disks, options.Chain, since, stop.Token);
            }

            backups = await _progress.RunAsync(parsed, isJson, progress => DiskBackup.TakeAsync(disks, options, progress, stop.Token));
        }
        catch (BitmapStateException e) when (!isFull && string.Equals(e.BitmapName, options.Since, StringComparison.Ordinal))
        {
            _messages.Error(RemedyText.Describe(e));
            return ExitCode.Invalid;
        }
        catch (ArgumentException e) when (e.ParamName is nameof(options))
        {
            return _messages.WrongArgument(e);
        }
        catch (Qcow2FormatException e) when (e.Fault.Id is "file-truncated" && !options.AcceptsMissing)
        {
            _messages.Error(
                $"{RemedyText.Describe(e)}. Nothing was done. Copy the file again, or use --accept-missing to take a backup with zeros in "
                + $"place of what is missing");
            return ExitCode.Error;
        }

        if (isJson)
        {
            await BackupOutput.WriteJsonAsync(backups, !isFull && parsed.GetValue(_extents), _output, cancellationToken);
        }
        else
        {
            BackupOutput.WriteText(backups, _output, _messages);
        }

        return ExitCode.Success;
    }

    /// <summary>Throws if a bitmap would be cleared in an image that another disk, perhaps with the same bitmap, also uses.</summary>
    private static async Task RequireNoOtherOverlaysAsync(
        IReadOnlyList<BackupDisk> disks, ChainOpenOptions options, string since, CancellationToken cancellationToken)
    {
        foreach (BackupDisk disk in disks)
        {
            await using ImageChain chain = await ImageChain.OpenAsync(disk.TopPath, options, cancellationToken);
            IEnumerable<int> cleared = chain.Layers.Where(layer => layer.Holds(since))
                .Select(static layer => layer.Index);
            if (await FoundOverlay.FindAsync(chain, cleared, cancellationToken) is [{ } other, ..])
            {
                throw IOException.Of(
                    $"'{other.Path}' has {other.Backing} as its backing file and is not part of the chain: "
                    + $"bitmap '{since}' would be cleared there for both. Start a new bitmap with --checkpoint, "
                    + $"or leave this one with --mode never; or --ignore-overlays, if the other image is not needed, or not backed up by "
                    + $"that bitmap");
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

        return previous is not null && disks.Count > 1 ? "--backing can be used with a single disk only" : null;
    }
}
