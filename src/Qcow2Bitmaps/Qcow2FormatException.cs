using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps;

/// <summary>An image holds bytes that the format, or a limit, does not allow.</summary>
public sealed class Qcow2FormatException : Qcow2Exception
{
    /// <summary>Wraps a fault that a decoder found.</summary>
    /// <param name="fault">What was wrong and where.</param>
    public Qcow2FormatException(FormatFault fault)
        : base(Describe(fault)) => Fault = fault;

    /// <summary>What was wrong, where it stands in the image, what was found and what is allowed.</summary>
    public FormatFault Fault { get; }

    private static string Describe(FormatFault fault)
    {
        ArgumentNullException.ThrowIfNull(fault);
        return fault.ToString();
    }
}
