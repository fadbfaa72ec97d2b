namespace Qcow2Bitmaps.Format;

/// <summary>Creates the system's exceptions with messages that stay printable whatever names they contain.</summary>
internal static class PrintableErrors
{
    extension(IOException)
    {
#pragma warning disable RS0030 // Here the message is escaped.
        public static IOException Of(PrintableMessage message, Exception? inner = null) => new(message, inner);

        public static IOException Of(PrintableMessage message, int error) => new(message, error);
#pragma warning restore RS0030
    }
}
