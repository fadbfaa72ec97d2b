using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps;

/// <summary>An image holds bytes that the format, or a limit, does not allow.</summary>
public sealed class Qcow2FormatException : Qcow2Exception
{
    internal Qcow2FormatException(FormatFault fault, string? imageName = null)
        : base(Describe(fault, imageName))
    {
        Fault = fault;
        ImageName = imageName;
        Remedy = fault.Remedy;
    }

    /// <summary>The image's path; null where only bytes were known.</summary>
    public string? ImageName { get; }

    /// <summary>What was wrong, where it is in the image, what was found and what is allowed.</summary>
    public FormatFault Fault { get; }

    private static PrintableMessage Describe(FormatFault fault, string? imageName)
    {
        ArgumentNullException.ThrowIfNull(fault);
        return imageName is null ? $"{fault}" : $"'{imageName}': {fault}";
    }
}
