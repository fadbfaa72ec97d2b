using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps;

// Decisions: docs/decisions/format.md.
/// <summary>One thing that is wrong with the bytes of an image: strict readers throw it, lenient readers list it.</summary>
/// <remarks>Immutable and safe to share between threads.</remarks>
public sealed record FormatFault
{
    internal FormatFault(FaultCode code, string structure, string field, ulong offset, string found, string allowed)
    {
        Code = code;
        Structure = structure;
        Field = field;
        Offset = offset;
        Found = found;
        Allowed = allowed;
    }

    /// <summary>What is wrong, as scripts should read it: an id of <c>docs/errors.md</c>, for example <c>header-cluster-bits</c>. It keeps
    /// its meaning in all versions.</summary>
    public string Id => KebabCase.From(Code.ToString());

    /// <summary>The structure at fault, for example <c>bitmap directory entry 3 ('chk-a')</c>.</summary>
    public string Structure { get; internal init => field = PrintableText.Escape(value); }

    /// <summary>The field at fault, by the specification's name where it has one.</summary>
    public string Field { get; }

    /// <summary>Where the field starts, in bytes from the start of the file.</summary>
    public ulong Offset { get; }

    /// <summary>The value that was found, as text.</summary>
    public string Found { get; internal init => field = PrintableText.Escape(value); }

    /// <summary>What would be allowed, as text.</summary>
    public string Allowed { get; internal init; }

    /// <summary>
    /// Whether the fault is one of bitmaps alone: their extension, directory or tables. The rest of the image can be
    /// right then, though QEMU refuses all of it.
    /// </summary>
    public bool IsOfBitmaps => Code is >= FaultCode.BitmapsExtensionLength and < FaultCode.L1EntryReserved;

    /// <summary>For a fault that a lenient reader found: whether a reader as strict as QEMU refuses the image because of it.</summary>
    public bool IsRefused { get; internal init; }

    /// <summary>What helps, for programs to word; null where nothing special does.</summary>
    public Remedy? Remedy { get; internal init; }

    internal FaultCode Code { get; }

    /// <summary>This fault, which a repair mends.</summary>
    internal FormatFault Repairable => this with { Remedy = Qcow2Bitmaps.Remedy.Repair };

    /// <summary>One line that says what is wrong, where, what was found and what is allowed.</summary>
    public override string ToString() =>
        $"{Structure}: {Field} at offset 0x{Offset:x} is {Found}, allowed: {Allowed} [{Id}]";
}
