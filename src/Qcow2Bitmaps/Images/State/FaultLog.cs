namespace Qcow2Bitmaps.Images.State;

/// <summary>Collects the faults that readers find, and stops the reading at one if that is strict.</summary>
internal sealed class FaultLog(Strictness strictness, string imageName)
{
    // A hostile image may have a fault in each of millions of entries.
    private const int MaxKept = 10_000;

    private readonly List<FormatFault> _findings = [];

    public IReadOnlyList<FormatFault> Findings => _findings;

    public bool IsLenient => strictness == Strictness.Lenient;

    /// <summary>Reports a fault for which QEMU refuses the image.</summary>
    /// <exception cref="Qcow2FormatException">The reader is as strict as QEMU.</exception>
    public void Report(FormatFault? fault)
    {
        if (fault is null)
        {
            return;
        }

        if (!IsLenient)
        {
            throw Fatal(fault);
        }

        Note(fault with { IsRefused = true });
    }

    /// <summary>Creates the exception for a fault that stops even a lenient reader.</summary>
    public Qcow2FormatException Fatal(FormatFault fault) => new(fault, imageName);

    /// <summary>Reports each fault; a strict reader throws at the first.</summary>
    /// <returns>True when there is none.</returns>
    public bool ReportAll(IEnumerable<FormatFault> faults)
    {
        bool none = true;
        foreach (FormatFault fault in faults)
        {
            none = false;
            Report(fault);
        }

        return none;
    }

    /// <summary>Reports a fault that QEMU ignores.</summary>
    public void Note(FormatFault fault)
    {
        if (_findings.Count < MaxKept)
        {
            _findings.Add(fault);
        }
    }

    /// <summary>Copies the findings to the caller's collection, if any, each structure with a prefix.</summary>
    public void CopyTo(ICollection<FormatFault>? findings, string prefix = "")
    {
        if (findings is null)
        {
            return;
        }

        foreach (FormatFault finding in _findings)
        {
            findings.Add(prefix.Length == 0 ? finding : finding with { Structure = prefix + finding.Structure });
        }
    }
}
