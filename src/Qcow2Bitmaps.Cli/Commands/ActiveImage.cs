using System.CommandLine;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Operations;

namespace Qcow2Bitmaps.Cli.Commands;

/// <summary>The options of commands on images that may have overlays: the active image, and the consent to do without it.</summary>
internal sealed class ActiveImage(string description)
{
    private readonly Option<string?> _active = CommonOptions.Value("--active", description, "ACTIVE");
    private readonly Option<bool> _ignore = CommonOptions.Flag(
        "--ignore-overlays", "Proceed even if overlays outside this chain use one of its images: their data or bitmaps may become wrong");

    public void AddTo(Command command)
    {
        command.Add(_active);
        command.Add(_ignore);
    }

    /// <summary>The active image; null where none was given.</summary>
    public string? Read(ParseResult parsed) => parsed.GetValue(_active);

    /// <summary>Refuses where images have overlays that are not part of the chain, and would be wrong afterwards.</summary>
    /// <exception cref="IOException">There is such an overlay.</exception>
    public async ValueTask RequireNoOthersAsync(ParseResult parsed, ChainOperation operation, CancellationToken cancellationToken)
    {
        if (!parsed.GetValue(_ignore) && await operation.FindOverlaysAsync(cancellationToken) is [{ } other, ..])
        {
            throw IOException.Of(
                $"'{other.Path}' has {other.Backing} as its backing file and is not part of the chain: "
                + $"give the top of the whole chain with --active; or --ignore-overlays, if it is no longer needed");
        }
    }
}
